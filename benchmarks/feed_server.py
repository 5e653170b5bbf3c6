"""The web server of the feed benchmark: the product's application with the route that it is compared with."""

from benchmarks.feed import serve_with_extras

if __name__ == "__main__":
    serve_with_extras()
