"""Pictures of stored evidence, as SVG for pages and PNG for messages."""
