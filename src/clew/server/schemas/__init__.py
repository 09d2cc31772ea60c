"""What goes over HTTP: requests, and replies that mirror records, by what they are about.

openapi.json, and from it the page's TypeScript types, are generated from these models. A reply's field is required
when it is always present; tests/server/test_schemas.py holds every reply to its record, field for field.
"""
