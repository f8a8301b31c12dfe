pytest_plugins = ["tests.plugins.dist"]
