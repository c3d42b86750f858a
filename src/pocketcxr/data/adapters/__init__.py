"""Dataset adapters: the public sets' own layouts, and tables and folders of the user."""
