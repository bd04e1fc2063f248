"""Tell people: a message about a rollout becomes what Slack, Teams or a webhook shows. Nothing here can delay a rollout."""
