#!/bin/sh
# A server through curl: sh examples/server.sh URL [MODEL]
# The URL is what `bitnet-onnx serve ARTIFACT` prints; the key is that of BITNET_ONNX_API_KEY.
set -eu
url=$1 model=${2:+\"model\":\"$2\",}

ask() {
    curl --fail-with-body --no-buffer --silent --show-error "$url$1" \
        -H "Authorization: Bearer ${BITNET_ONNX_API_KEY:-none}" \
        -H "Content-Type: application/json" ${2:+--data "$2"}
    echo
}

chat='"messages":[{"role":"user","content":"What is 27 + 5?"}]'
ask /health
ask /v1/models
ask /v1/chat/completions "{$model$chat}"
ask /v1/chat/completions "{$model$chat,\"stream\":true}"
ask /v1/completions "{$model\"prompt\":\"Monday\",\"max_tokens\":4}"
ask /tokenize "{$model\"content\":\"Monday\"}"
