"""One server for pages and programs: sessions on one model, over HTTP and WebSocket."""
