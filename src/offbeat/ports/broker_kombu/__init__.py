"""The broker through kombu: its address, its connections and a line to each kind of server. Imports nothing by itself."""
