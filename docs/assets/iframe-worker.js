// The search of this site runs in a worker, which browsers refuse to a page that was opened as a file. There, a hidden
// frame does the worker's part. (The builder would otherwise load such a script from another host; it looks for this
// file's name.)
if (location.protocol === "file:") {
  // As a worker's messages are: copied, and delivered later.
  const deliver = (data, receiver) => {
    const copy = structuredClone(data);
    setTimeout(() => receiver()?.({ data: copy }));
  };

  window.Worker = class {
    constructor(url) {
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html>";
      this.frame.onload = () => {
        const inside = this.frame.contentWindow;
        inside.postMessage = (data) => deliver(data, () => this.onmessage);
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
        deliver(data, () => this.inside.onmessage);
      } else {
        this.waiting.push(structuredClone(data));
      }
    }

    terminate() {
      this.frame.remove();
    }
  };
}
