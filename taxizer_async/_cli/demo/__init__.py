"""`taxizer-async demo`: what happens to a service and its fleet on bad days."""
