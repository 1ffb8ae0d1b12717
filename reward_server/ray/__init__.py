"""The server and bulk scoring on a Ray cluster; everything that imports Ray."""
