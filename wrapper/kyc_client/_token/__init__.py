"""The life of a token: when it is used, when it is renewed, and how callers wait for the login.

lease          a token and the windows of its life
policy         what a request, a 401 and the end of a login change. Pure
flight         one login under way: its thread, its deadline, and that it lands once
login          what a flight does. The first login loads it
source         at most one flight at a time, and the one holder of state
loops          how a task of asyncio or trio waits for a thread
reporter       the log, and the caller's `on_event`
"""
