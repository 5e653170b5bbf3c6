"""What shop systems send, each in its own form: pure functions from a payload to our drafts."""
