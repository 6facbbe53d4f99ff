-- What is due is found endpoint by endpoint. Runs before the code that needs it.

CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, next_at) WHERE state = 'pending';
