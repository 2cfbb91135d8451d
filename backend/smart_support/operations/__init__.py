"""What upstream APIs offer: documents read into operations, suggested classes, reviewed ones."""
