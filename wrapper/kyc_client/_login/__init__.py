"""One login. Knows nothing of a token's life.

What every `connect()` loads:

    secret         values that do not show what they hold
    credentials    the environment, and `Credentials`
    base_url       a base URL that may receive a password
    tls            one TLS context per set of settings
    connection     how connections are made, settled once
    outcome        how a login ends, as a value
    endpoint       where and how to log in

What the first login loads:

    wire           JSON, JWT claims and HTTP dates, read off the wire
    raised         an exception of a transport, and texts fit for a message
    answer         what an answer means
    attempt        one attempt, over a connection of its own
    transports     whether a caller's transport can be used, and how a login uses it

What is loaded only where it is given: `proxies`, `certificates`, `gateway` (headers of the login) and
`secret_file`.
"""
