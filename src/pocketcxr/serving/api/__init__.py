"""What the HTTP interface takes and answers: uploads, schemas with examples, problems, the OpenAPI document."""
