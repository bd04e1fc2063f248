"""What an API server must do, asked of the sandbox and of a real one by the same tests."""
