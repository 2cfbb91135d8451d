"""Answering a message: who may send, who answers, who watches, and what a crash leaves."""
