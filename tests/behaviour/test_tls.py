"""TLS: one context per set of settings, and the login over the same one as the calls."""

from __future__ import annotations

import datetime as dt
import gc
import pickle
import ssl
import weakref

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from kyc_client import ConfigurationError, Credentials, LoginAuth, LoginUnavailableError, connect
from kyc_client._clock import Clock
from kyc_client._login import tls as _tls
from kyc_client._login.answer import Failure, Grant
from kyc_client._login.connection import make_connection
from kyc_client._login.endpoint import LoginEndpoint
from kyc_openapi.api.resource import get_resource
from tests.core.test_secret import rendered
from tests.support.fault_server import FaultServer

URL = "https://kyc.example.com"


def shared_context(**settings):
    """What the callers of the function do: raise what it says is wrong."""
    context, problem = _tls.shared_context(**settings)
    if problem:
        raise ConfigurationError(problem)
    return context


CANARY = "canary-key-27aa"
CREDENTIALS = Credentials("fake-user@example.com", "fake-password-for-tests")


class Files:
    """Certificates on disk: a CA, a client certificate of its in all the forms that `cert=` knows, and a wrong key."""

    def __init__(self, folder):
        self.authority = trustme.CA()
        self.ca = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca)
        client = self.authority.issue_cert("client@example.com")
        self.both = str(folder / "both.pem")
        client.private_key_and_cert_chain_pem.write_to_path(self.both)
        self.chain = str(folder / "chain.pem")
        client.cert_chain_pems[0].write_to_path(self.chain)
        self.key = str(folder / "key.pem")
        client.private_key_pem.write_to_path(self.key)
        self.locked = str(folder / "locked.pem")
        key = serialization.load_pem_private_key(client.private_key_pem.bytes(), None)
        (folder / "locked.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(CANARY.encode()),
            )
        )
        self.folder = str(folder / "hashed")
        (folder / "hashed").mkdir()
        self.missing = str(folder / f"{CANARY}-nowhere.pem")
        self.nonsense = str(folder / "nonsense.pem")
        (folder / "nonsense.pem").write_text("not a certificate")


@pytest.fixture(autouse=True)
def _no_bundle_of_the_machine(monkeypatch):
    """No test sees the bundles that the machine's environment names."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificates on disk."""
    return Files(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(files):
    """The fault server over TLS, with a certificate of our CA for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files.authority.issue_cert("127.0.0.1").configure_cert(context)
    with FaultServer(context=context) as server:
        yield server


@pytest.fixture
def mutual(files):
    """The same, for clients with a certificate of our CA only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    files.authority.issue_cert("127.0.0.1").configure_cert(context)
    files.authority.configure_trust(context)
    with FaultServer(context=context) as server:
        yield server


SETTINGS = {
    "the default": lambda _: {},
    "verify as a file": lambda files: {"verify": files.ca},
    "verify as a folder": lambda files: {"verify": files.folder},
    "no verification": lambda _: {"verify": False},
    "certificate and key in one file": lambda files: {"verify": files.ca, "cert": files.both},
    "certificate and key": lambda files: {"verify": files.ca, "cert": (files.chain, files.key)},
    "certificate and locked key": lambda files: {"verify": files.ca, "cert": (files.chain, files.locked, CANARY)},
}


# Sharing


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_same_settings(files, settings):
    """The same settings give the same context, which is what makes the second client cheap."""
    context = shared_context(**settings(files))
    assert isinstance(context, ssl.SSLContext)
    assert shared_context(**settings(files)) is context


def test_different_settings(files):
    """D9: different settings never share one, or one client's certificate would vouch for another."""
    contexts = [shared_context(**settings(files)) for settings in SETTINGS.values()]
    assert len({id(context) for context in contexts}) == len(SETTINGS)


def test_environment(files, monkeypatch):
    """`SSL_CERT_FILE` and `SSL_CERT_DIR` count, and a change of them does, unless `trust_env=False`."""
    contexts = [shared_context()]
    monkeypatch.setenv("SSL_CERT_FILE", files.ca)
    contexts.append(shared_context())
    assert [entry["subject"] for entry in contexts[-1].get_ca_certs()] == [
        entry["subject"] for entry in shared_context(verify=files.ca).get_ca_certs()
    ]
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", files.folder)
    contexts.extend([shared_context(), shared_context(trust_env=False)])
    assert len({id(context) for context in contexts}) == 4
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    assert shared_context(trust_env=False) is contexts[-1]


def test_verification():
    """D9: certificates and host names are checked by default, and not with `verify=False`, as httpx has it."""
    strict, lax = shared_context(), shared_context(verify=False)
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (lax.verify_mode, lax.check_hostname) == (ssl.CERT_NONE, False)


def test_own_context():
    """A context of the caller's is used as it is."""
    context = ssl.create_default_context()
    assert shared_context(verify=context) is context


def test_own_context_with_a_certificate(files):
    """A certificate is not loaded into a context of the caller's, who may use it elsewhere: that is refused."""
    context = ssl.create_default_context()
    with pytest.raises(ConfigurationError, match="Load the client certificate into the SSLContext"):
        shared_context(verify=context, cert=files.both)


def test_kept_while_in_use(files):
    """A context lives as long as somebody uses it, so that a changed bundle of CAs is read by the next client."""
    context = shared_context(verify=files.ca)
    alive = weakref.ref(context)
    gc.collect()
    assert shared_context(verify=files.ca) is context
    del context
    gc.collect()
    assert alive() is None


def test_none_is_the_default():
    """`verify=None`, as of a variable that is not set, is what it is for httpx: verification as usual."""
    assert shared_context(verify=None) is shared_context()


def test_clients_share_it(files):
    """All clients and logins with the same settings use one context."""
    context = shared_context(verify=files.ca)
    for _ in range(2):
        connection, problems = make_connection(httpx.URL("https://127.0.0.1"), {"verify": files.ca})
        assert connection._options["verify"] is context
        assert problems == []


# What cannot be loaded


BROKEN = {
    "missing CA": (lambda files: {"verify": files.missing}, "No such file or directory"),
    "CA that is none": (lambda files: {"verify": files.nonsense}, "SSLError"),
    "missing certificate": (lambda files: {"cert": files.missing}, "No such file or directory"),
    "missing key": (lambda files: {"cert": (files.chain, files.missing)}, "No such file or directory"),
    "certificate that is none": (lambda files: {"cert": files.nonsense}, "SSLError"),
    "key of another": (lambda files: {"cert": (files.ca, files.key)}, "SSLError"),
    "wrong password": (lambda files: {"cert": (files.chain, files.locked, f"{CANARY}-wrong")}, "SSLError"),
    "missing, with a password": (lambda files: {"cert": (files.missing, files.missing, CANARY)}, "No such file"),
}


@pytest.mark.parametrize(("settings", "problem"), BROKEN.values(), ids=BROKEN)
def test_broken(files, settings, problem):
    """A certificate that cannot be loaded is a mistake in the configuration; the message shows no path or password."""
    with pytest.raises(
        ConfigurationError, match=rf"SSL_CERT_FILE, verify= or cert= cannot be loaded \({problem}.*Check"
    ) as info:
        shared_context(**settings(files))
    assert CANARY not in str(info.value)
    assert (info.value.__cause__, info.value.__context__) == (None, None)
    assert str(pickle.loads(pickle.dumps(info.value))) == str(info.value)  # noqa: S301 - our own pickle


@pytest.mark.parametrize("name", ["wrong password", "missing, with a password"])
def test_no_frame_shows_the_password(files, name):
    """A crash report of a key that cannot be loaded shows neither the key's password nor the proxy's."""
    settings, _ = BROKEN[name]
    credentials = Credentials("fake-user", "fake-password")
    for make in (LoginAuth, connect):
        with pytest.raises(ConfigurationError) as info:
            make(
                "https://kyc.example.com",
                credentials=credentials,
                proxy=f"http://fake:{CANARY}@proxy",
                **settings(files),
            )
        assert CANARY not in rendered(info.value)


@pytest.mark.parametrize("settings", [{"verify": f"{CANARY}\0"}, {"cert": f"{CANARY}\0"}], ids=["verify", "cert"])
def test_not_a_path(settings):
    """What cannot even be a path is such a mistake too."""
    with pytest.raises(ConfigurationError, match="cannot be loaded") as info:
        shared_context(**settings)
    assert CANARY not in str(info.value)


def test_broken_environment(monkeypatch):
    """A bundle that the environment names in vain is a mistake in the configuration too."""
    monkeypatch.setenv("SSL_CERT_FILE", f"/{CANARY}/nowhere")
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        shared_context()


def test_broken_is_not_remembered(files):
    """Once the file is there, the next call loads it."""
    path = f"{files.folder}/late.pem"
    with pytest.raises(ConfigurationError):
        shared_context(verify=path)
    files.authority.cert_pem.write_to_path(path)
    assert isinstance(shared_context(verify=path), ssl.SSLContext)


@pytest.mark.parametrize("make", [LoginAuth, connect])
def test_broken_from_outside(files, make):
    """`LoginAuth` and `connect` say so when they are made, before anything is sent."""
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        make("https://127.0.0.1", credentials=CREDENTIALS, verify=files.missing)


# Over the wire


def test_generated_call(secure, files, colour):
    """D9: with the CA as `verify=`, the login and the call both go through, in every colour."""
    client = connect(secure.base_url, credentials=CREDENTIALS, verify=files.ca)
    assert colour.operation(get_resource, client) is not None
    assert (secure.login_count, len(secure.hits)) == (1, 1)


def test_plain_httpx(secure, files, colour):
    """D9: `LoginAuth` with the CA logs in for an httpx client that trusts it in its own way."""
    auth = LoginAuth(secure.base_url, credentials=CREDENTIALS, verify=files.ca)
    context = ssl.create_default_context(cafile=files.ca)
    response = colour.send("GET", f"{secure.base_url}/api/v1/resource", client={"auth": auth, "verify": context})
    assert response.status_code == 200
    assert response.json()["token"] == auth.get_token().value
    assert secure.login_count == 1


def test_client_certificate_of_both(mutual, files, colour):
    """D9: where the API wants a client certificate, the login shows the same one as the calls."""
    client = connect(mutual.base_url, credentials=CREDENTIALS, verify=files.ca, cert=(files.chain, files.key))
    assert colour.operation(get_resource, client) is not None
    assert (mutual.login_count, len(mutual.hits)) == (1, 1)


def test_bundle_of_the_environment(secure, files, colour, monkeypatch):
    """D9: `SSL_CERT_FILE` is for the login and the calls alike, and so is `trust_env=False`."""
    monkeypatch.setenv("SSL_CERT_FILE", files.ca)
    assert colour.operation(get_resource, connect(secure.base_url, credentials=CREDENTIALS)) is not None
    assert (secure.login_count, len(secure.hits)) == (1, 1)
    with pytest.raises(LoginUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        colour.operation(get_resource, connect(secure.base_url, credentials=CREDENTIALS, trust_env=False))
    assert len(secure.exchanges) == 2


def expired(authority):
    """A certificate that was good until a year ago."""
    return authority.issue_cert(
        "127.0.0.1",
        not_before=dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        not_after=dt.datetime(2021, 1, 1, tzinfo=dt.UTC),
    )


UNTRUSTED = {
    "expired": (expired, "certificate has expired"),
    "another host": (lambda authority: authority.issue_cert("localhost"), "IP address mismatch"),
    "another authority": (lambda _: trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer certificate"),
}


@pytest.mark.parametrize(("issue_cert", "why"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_untrusted(files, colour, monkeypatch, issue_cert, why):
    """D9: a server that is not known to be ours gets no byte of HTTP; the error says why, and is ours."""
    monkeypatch.setattr("kyc_client._token.login._BACKOFF_SECONDS", 0.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issue_cert(files.authority).configure_cert(context)
    with FaultServer(context=context) as server:
        client = connect(server.base_url, credentials=CREDENTIALS, verify=files.ca)
        with pytest.raises(LoginUnavailableError, match=f"CERTIFICATE_VERIFY_FAILED.*{why}.*Check .* certificates"):
            colour.operation(get_resource, client)
        assert server.exchanges == []


@pytest.mark.parametrize("name", ["PYTHONHTTPSVERIFY", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "SSL_VERIFY"])
def test_environment_cannot_switch_verification_off(secure, files, colour, monkeypatch, name):
    """D9: no variable makes a server trusted that nobody vouches for."""
    monkeypatch.setattr("kyc_client._token.login._BACKOFF_SECONDS", 0.0)
    monkeypatch.setenv(name, files.folder if name == "SSL_CERT_DIR" else "" if name == "SSL_CERT_FILE" else "0")
    with pytest.raises(LoginUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
        colour.operation(get_resource, connect(secure.base_url, credentials=CREDENTIALS))
    assert secure.exchanges == []


def attempt(server, verify, within=10.0):
    """One login over this context."""
    url = httpx.URL(server.base_url)
    connection, _ = make_connection(url, {"verify": verify})
    endpoint = LoginEndpoint(url, httpx.Timeout(10), connection)
    return endpoint.attempt(CREDENTIALS, within=within, clock=Clock(), on_open=lambda _: None)


def test_wrong_authority(secure):
    """D9: a server whose certificate nobody vouches for gets no password, and the login says why."""
    result = attempt(secure, shared_context())
    assert isinstance(result, Failure)
    assert result.kind is LoginUnavailableError
    assert "CERTIFICATE_VERIFY_FAILED" in result.message
    assert "certificates (SSL_CERT_FILE or verify=)" in result.message
    assert secure.exchanges == []


def test_wrong_name(secure, files):
    """D9: nor does one whose certificate is for another host."""
    secure.base_url = secure.base_url.replace("127.0.0.1", "localhost")
    result = attempt(secure, shared_context(verify=files.ca))
    assert isinstance(result, Failure)
    assert result.kind is LoginUnavailableError
    assert "CERTIFICATE_VERIFY_FAILED" in result.message
    assert secure.exchanges == []


def test_no_verification(secure):
    """D9: `verify=False` means what it means in httpx: nobody has to vouch for the server."""
    assert isinstance(attempt(secure, shared_context(verify=False)), Grant)


@pytest.mark.parametrize("form", [name for name in SETTINGS if name.startswith("certificate")])
def test_client_certificate(mutual, files, form):
    """D9: a client certificate, in every form that httpx knows, is shown at the login."""
    assert isinstance(attempt(mutual, shared_context(**SETTINGS[form](files))), Grant)
    assert mutual.login_count == 1


def test_no_client_certificate(mutual, files):
    """D9: without it the server breaks off, which is a login that could not be completed."""
    result = attempt(mutual, shared_context(verify=files.ca))
    assert isinstance(result, Failure)
    assert result.kind is LoginUnavailableError
    assert mutual.exchanges == []


def test_not_tls():
    """D9: a server that speaks no TLS is one that could not be reached."""
    with FaultServer() as server:
        server.base_url = server.base_url.replace("http:", "https:")
        # It waits for a line to end, and the client for an answer to its greeting.
        result = attempt(server, shared_context(), within=0.1)
    assert isinstance(result, Failure)
    assert result.kind is LoginUnavailableError
    assert "no answer in time" in result.message
