"""An API server, controllers and pods as processes, all in one Python process: for the demo, `linnet sandbox` and the fast tests."""
