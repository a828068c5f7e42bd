"""Pages for people: their templates, and what fills them."""
