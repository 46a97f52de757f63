"""Joins the life of a token with the calls that get one: `TaxizerAuth`, `TaxizerClient`, and what they share."""
