"""The application for a WSGI server."""

from kernel.app import create_app

app = create_app()
