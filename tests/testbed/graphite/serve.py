"""graphite-web on a port of the loopback, run by its own Python."""

import sys
from wsgiref.simple_server import make_server

from django.core.wsgi import get_wsgi_application

make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
