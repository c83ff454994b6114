"""A server through the openai client: python examples/server_openai.py URL [MODEL]"""

import os
import sys
from typing import Any

from openai import BadRequestError, OpenAI

# The URL is what `bitnet-onnx serve ARTIFACT` prints, such as http://localhost:8080.
key = os.environ.get("BITNET_ONNX_API_KEY", "none")
client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key=key)
create: Any = client.chat.completions.create
model = sys.argv[2] if len(sys.argv) > 2 else client.models.list().data[0].id
asked = {"model": model, "messages": [{"role": "user", "content": "What is 27 + 5?"}]}
print("chat:", create(**asked).choices[0].message.content)

for chunk in create(**asked, stream=True):
    print("piece:", repr(chunk.choices[0].delta.content))

schema = {"type": "object", "properties": {"sum": {"type": "integer", "minimum": 0, "maximum": 99}},
          "required": ["sum"], "additionalProperties": False}  # fmt: skip
form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
print("schema:", create(**asked, response_format=form).choices[0].message.content)

tools = [{"type": "function", "function": {"name": "show", "parameters": schema}}]
try:
    answer = create(**asked, tools=tools, tool_choice="required")
    print("call:", answer.choices[0].message.tool_calls[0].function.arguments)
except BadRequestError as error:  # the model's chat template knows no tools
    print("no tools:", error.body["message"] if isinstance(error.body, dict) else error)
