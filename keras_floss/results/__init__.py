"""The figures of the results: what they are made of, its runs, and their page."""
