"""The command `doctor`: checks of all that stands between this process and Taxizer."""
