"""One login: the credentials, the connection to the API, and what the answer means. It does not know a token's life.

credentials   the login and password, and where they come from
base_url      the address that may receive a password
tls           one TLS context for all that have the same settings
connection    how connections are made, settled once, for calls and logins
endpoint      one attempt to log in
answer        what an answer means: a grant, a failure, or what a transport raised
wire          JSON, tokens and dates as they come off the wire
secret        value objects and headers that do not show what they hold
"""
