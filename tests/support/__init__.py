"""What several suites build on: deployments, clients, networks, sounds. No test stands here."""
