"""The operator domain ``bitnet``: one page for each family of operators."""
