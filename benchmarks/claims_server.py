"""The web server of the claim benchmark: the product's application with the routes that it is compared with."""

from benchmarks.claims import serve_with_extras

if __name__ == "__main__":
    serve_with_extras()
