"""The web service: predictions, properties, models and jobs over HTTP, and a page."""
