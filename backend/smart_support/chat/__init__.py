"""Answering one message: who may send, who answers, who watches, and what happens when it breaks."""
