"""The ASGI application: surfaces, authentication, heartbeats."""
