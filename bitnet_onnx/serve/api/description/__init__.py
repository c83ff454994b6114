"""/openapi.json: what each endpoint takes and answers, made from the table of fields."""
