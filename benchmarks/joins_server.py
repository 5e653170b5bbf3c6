"""The web server of the join benchmark: the product's application with the routes that it is compared with."""

from benchmarks.joins import serve_with_extras

if __name__ == "__main__":
    serve_with_extras()
