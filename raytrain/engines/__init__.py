"""What families are made of: the contract (`base`) and what the families of one engine share."""
