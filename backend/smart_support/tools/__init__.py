"""An approved operation as something the model can call, and the call itself."""
