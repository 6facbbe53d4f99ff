#!/bin/sh
# What an AWS Application Load Balancer needs before holdfast: alb.sh LOAD_BALANCER_ARN TARGET_GROUP_ARN
# The target group was made with --protocol HTTP --protocol-version HTTP1 --port 16888; its version cannot be changed.
set -eu
balancer=${1:?the ARN of the load balancer}
group=${2:?the ARN of the target group}

# idle_timeout counts silence: 60 s, its default, since a beat comes every 10 s; longer only makes dead callers slower to
# notice. client_keep_alive is the life of a caller's connection between requests; none is cut while a call is held.
# The gateway keeps idle connections 75 s (server.idle_timeout_s): longer than the balancer, which would else use dead ones.
aws elbv2 modify-load-balancer-attributes --load-balancer-arn "$balancer" --attributes \
    Key=idle_timeout.timeout_seconds,Value=60 \
    Key=routing.http.drop_invalid_header_fields.enabled,Value=true \
    Key=routing.http.xff_header_processing.mode,Value=append

# Held calls end by themselves within drain.grace_s. Least outstanding requests: a held call is one, for minutes.
aws elbv2 modify-target-group-attributes --target-group-arn "$group" --attributes \
    Key=deregistration_delay.timeout_seconds,Value=300 \
    Key=load_balancing.algorithm.type,Value=least_outstanding_requests \
    Key=stickiness.enabled,Value=false

# 503 while it drains or its disk is full: new work goes elsewhere, and what is held there stays.
aws elbv2 modify-target-group --target-group-arn "$group" \
    --health-check-protocol HTTP --health-check-path /readyz --matcher HttpCode=200 \
    --health-check-interval-seconds 5 --health-check-timeout-seconds 3 \
    --healthy-threshold-count 2 --unhealthy-threshold-count 2
