// The search of this site runs in a worker, which browsers refuse to a page that was opened as a file. There, a hidden
// frame does the worker's part. (The builder would otherwise fetch such a script from another host; it looks for this
// file's name.)
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html>";
      this.frame.onload = () => {
        const inside = this.frame.contentWindow;
        inside.postMessage = (data) => this.onmessage?.({ data });
        const script = inside.document.createElement("script");
        script.src = url;
        script.onload = () => {
          this.inside = inside;
          this.waiting.splice(0).forEach((data) => this.postMessage(data));
        };
        script.onerror = () => this.onerror?.(new Event("error"));
        inside.document.body.append(script);
      };
      document.body.append(this.frame);
    }

    postMessage(data) {
      if (this.inside) {
        this.inside.onmessage?.({ data });
      } else {
        this.waiting.push(data);
      }
    }

    terminate() {
      this.frame.remove();
    }
  };
}
