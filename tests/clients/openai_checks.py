"""openai-python against the gateway: naive loops and helpers, errors, tools, broken streams."""

import os

import openai

from check import ARGUMENTS, CUTS, GATEWAY, GATEWAYS, KEY, TEXT, check, check_each, equal, raises, run

MESSAGES = [{"role": "user", "content": "Say something."}]
TOOLS = [{
    "type": "function",
    "function": {
        "name": "read_file",
        "description": "Reads a file.",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}]
RESPONSES_TOOLS = [{"type": "function", **TOOLS[0]["function"]}]


def client(gateway=GATEWAY, key=KEY, **options):
    """A client as users make it, but without retries."""
    return openai.OpenAI(**{"base_url": f"{gateway}/v1", "api_key": key, "max_retries": 0, "timeout": 20, **options})


def naive(model, gateway=GATEWAY, **options):
    """The loop of every tutorial."""
    text = ""
    stream = client(gateway).chat.completions.create(model=model, messages=MESSAGES, stream=True, **options)
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
    return text


def helper(model, gateway=GATEWAY):
    """The SDK's own accumulation."""
    with client(gateway).chat.completions.stream(model=model, messages=MESSAGES) as stream:
        deltas = "".join(event.delta for event in stream if event.type == "content.delta")
        completion = stream.get_final_completion()
    equal(completion.choices[0].finish_reason, "stop")
    equal(completion.choices[0].message.content, deltas)
    return deltas


def response_events(model, gateway=GATEWAY):
    """All events of a Responses stream."""
    return list(client(gateway).responses.create(model=model, input="Say something.", stream=True))


def response_text(events):
    """The text of a Responses stream."""
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


# --- One model, no switch.


@check_each("plain", "switch")
def chat(model):
    raw = client().chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    completion = raw.parse()
    equal(completion.choices[0].message.content, TEXT)
    equal(completion.choices[0].finish_reason, "stop")
    equal(completion.usage.completion_tokens, 4)
    switched = model == "switch"
    equal(raw.headers["x-gateway-model-used"], "plain")
    equal(raw.headers["x-gateway-attempt-count"], "2" if switched else "1")
    equal(raw.headers["x-gateway-switched"], "1" if switched else "0")
    equal(raw.headers["x-gateway-provider"], "openai")
    assert raw.headers["x-gateway-request-id"]
    notice = (completion.model_extra or {}).get("gateway_notice")
    equal(notice and (notice["fromModel"], notice["to_model"], notice["trigger_status"]),
          ("switch", "plain", 429) if switched else None)


@check
def chat_stream_naive():
    equal(naive("plain"), TEXT)


@check
def chat_stream_helper():
    equal(helper("plain"), TEXT)


@check
def chat_stream_headers():
    raw = client().chat.completions.with_raw_response.create(model="switch", messages=MESSAGES, stream=True)
    equal(raw.headers["x-gateway-model-used"], "plain")
    equal(raw.headers["x-gateway-attempt-count"], "2")
    equal(raw.headers["x-gateway-switched"], "1")
    equal("".join(chunk.choices[0].delta.content or "" for chunk in raw.parse()), TEXT)


@check
def usage_not_asked_for_is_not_sent():
    chunks = list(client().chat.completions.create(model="plain", messages=MESSAGES, stream=True))
    assert all(chunk.choices for chunk in chunks), chunks[-1]
    equal(chunks[-1].choices[0].finish_reason, "stop")


@check
def usage_asked_for_comes_last():
    options = {"include_usage": True}
    stream = client().chat.completions.create(
        model="plain", messages=MESSAGES, stream=True, stream_options=options
    )
    *before, last = stream
    equal(last.choices, [])
    equal(last.usage.completion_tokens, 4)
    assert all(chunk.usage is None and chunk.choices for chunk in before)


@check
def usage_not_asked_for_by_helper():
    with client().chat.completions.stream(model="plain", messages=MESSAGES) as stream:
        equal(stream.get_final_completion().usage, None)


@check_each("chunk", "comment", "off")
def chat_tools(mode):
    for model in ("tools", "switch-tools"):
        completion = client(GATEWAYS[mode]).chat.completions.create(model=model, messages=MESSAGES, tools=TOOLS)
        call = completion.choices[0].message.tool_calls[0]
        equal((call.function.name, call.function.arguments), ("read_file", ARGUMENTS))
        equal(completion.choices[0].finish_reason, "tool_calls")


@check_each("chunk", "comment", "off")
def chat_tools_stream_naive(mode):
    for model in ("tools", "switch-tools"):
        name, arguments, pieces = "", "", 0
        stream = client(GATEWAYS[mode]).chat.completions.create(
            model=model, messages=MESSAGES, tools=TOOLS, stream=True
        )
        for chunk in stream:
            for call in chunk.choices[0].delta.tool_calls or []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
                pieces += 1
        equal((name, arguments, pieces), ("read_file", ARGUMENTS, 3))


@check_each("chunk", "comment", "off")
def chat_tools_stream_helper(mode):
    for model in ("tools", "switch-tools"):
        with client(GATEWAYS[mode]).chat.completions.stream(model=model, messages=MESSAGES, tools=TOOLS) as stream:
            done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
            completion = stream.get_final_completion()
        equal([(event.name, event.arguments) for event in done], [("read_file", ARGUMENTS)])
        call = completion.choices[0].message.tool_calls[0]
        equal(call.function.parsed_arguments, {"path": "src/main.rs"})


@check
def completions():
    completion = client().completions.create(model="plain", prompt="Say something.")
    equal(completion.choices[0].text, TEXT)


@check_each(*GATEWAYS)
def completions_stream(mode):
    def text(model):
        stream = client(GATEWAYS[mode]).completions.create(model=model, prompt="Say something.", stream=True)
        return "".join(chunk.choices[0].text for chunk in stream)

    equal(text("plain"), TEXT)
    if mode == "event":
        raises(TypeError, lambda: text("switch"))
    else:
        equal(text("switch"), TEXT)


@check
def embeddings():
    answer = client().embeddings.create(model="plain", input=["one", "two"])
    equal(len(answer.data), 2)
    equal(len(answer.data[0].embedding), 8)
    assert answer.usage.total_tokens > 0


@check
def models():
    ids = {model.id for model in client().models.list()}
    assert {"plain", "switch", "claude-plain", "auto"} <= ids, ids
    equal(client().models.retrieve("plain").id, "plain")
    error = raises(openai.NotFoundError, lambda: client().models.retrieve("plane"))
    equal(error.code, "model_not_found")


@check
def auto_for_an_agent_with_one_model():
    user = client(default_headers={"X-Agent-ID": "narrow"})
    answer = user.chat.completions.with_raw_response.create(model="auto", messages=MESSAGES)
    equal(answer.headers["x-gateway-model-used"], "plain")
    equal(answer.parse().choices[0].message.content, TEXT)


# --- Responses.


@check_each("plain", "switch")
def responses(model):
    response = client().responses.create(model=model, input="Say something.")
    equal(response.output_text, TEXT)
    equal(response.status, "completed")
    equal(response.usage.output_tokens, 4)


@check_each("chunk", "comment", "off")
def responses_stream(mode):
    for model in ("plain", "switch"):
        events = response_events(model, GATEWAYS[mode])
        equal(response_text(events), TEXT)
        equal(events[0].type, "response.created")
        equal(events[-1].type, "response.completed")
        equal([event.sequence_number for event in events], list(range(len(events))))


@check_each("chunk", "comment", "off")
def responses_helper(mode):
    for model in ("plain", "switch"):
        with client(GATEWAYS[mode]).responses.stream(model=model, input="Say something.") as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            equal(stream.get_final_response().output_text, TEXT)
        equal(text, TEXT)


@check
def responses_tools():
    with client().responses.stream(model="tools", input="Read it.", tools=RESPONSES_TOOLS) as stream:
        call = stream.get_final_response().output[0]
    equal((call.name, call.arguments), ("read_file", ARGUMENTS))


# --- The notice of a switch, in its four forms (C-12).


@check_each(*GATEWAYS)
def notice_on_the_wire(mode):
    create = client(GATEWAYS[mode]).chat.completions.with_streaming_response.create
    with create(model="switch", messages=MESSAGES, stream=True) as response:
        first = next(line for line in response.iter_lines() if line)
    expected = {
        "chunk": "event: gateway_notice",
        "event": "event: gateway_notice",
        "comment": ": gateway_notice {",
        "off": "data: {",
    }
    assert first.startswith(expected[mode]), first


@check
def notice_in_a_chunk_can_be_read():
    first = next(iter(client().chat.completions.create(model="switch", messages=MESSAGES, stream=True)))
    equal(first.choices[0].delta.content, "")
    equal(first.model_extra["gateway_notice"]["fromModel"], "switch")
    equal(first.model_extra["to_model"], "plain")


@check_each("chunk", "comment", "off")
def switch_naive(mode):
    equal(naive("switch", GATEWAYS[mode]), TEXT)


@check_each("chunk", "comment", "off")
def switch_helper(mode):
    equal(helper("switch", GATEWAYS[mode]), TEXT)


@check
def the_seed_form_breaks_typed_clients():
    raises(TypeError, lambda: naive("switch", GATEWAYS["event"]))
    equal(helper("switch", GATEWAYS["event"]), TEXT)


@check
def the_seed_form_without_a_switch():
    equal(naive("plain", GATEWAYS["event"]), TEXT)
    equal(helper("plain", GATEWAYS["event"]), TEXT)


# --- Streams that break off must not look like answers.


@check_each(*CUTS)
def broken_stream_raises_in_the_naive_loop(cut):
    raises(openai.APIError, lambda: naive(cut))


@check_each(*CUTS)
def broken_stream_raises_in_the_helper(cut):
    raises(openai.APIError, lambda: helper(cut))


@check_each(*CUTS)
def broken_response_is_told(cut):
    events = response_events(cut)
    kinds = [event.type for event in events]
    assert kinds[-1] in ("error", "response.failed"), kinds
    assert "response.completed" not in kinds, kinds


@check_each(*CUTS)
def broken_response_raises_in_the_helper(cut):
    def action():
        with client().responses.stream(model=cut, input="Say something.") as stream:
            return stream.get_final_response()

    raises((openai.APIError, RuntimeError), action)


@check_each(*CUTS)
def broken_completion_raises(cut):
    raises(openai.APIError, lambda: list(client().completions.create(model=cut, prompt="Hi", stream=True)))


# --- Refusals.


@check
def unknown_model():
    for stream in (False, True):
        error = raises(
            openai.NotFoundError,
            lambda: client().chat.completions.create(model="plai", messages=MESSAGES, stream=stream),
        )
        equal((error.code, error.type, error.param), ("model_not_found", "invalid_request_error", "model"))
        assert "plain" in error.message, error.message


@check
def unknown_key():
    error = raises(openai.AuthenticationError, lambda: client(key="x" * 20).models.list())
    equal(error.code, "invalid_key")
    error = raises(
        openai.AuthenticationError,
        lambda: client(key="x" * 20).chat.completions.create(model="plain", messages=MESSAGES),
    )
    equal(error.code, "invalid_key")


@check
def bad_request():
    error = raises(
        openai.BadRequestError,
        lambda: client().chat.completions.create(model="plain", messages=MESSAGES, extra_body={"stream": "yes"}),
    )
    assert error.code, error


@check_each("busy", "limited")
def upstream_refusal_is_passed_on(model):
    kind = {"busy": openai.InternalServerError, "limited": openai.RateLimitError}[model]
    error = raises(kind, lambda: client().chat.completions.create(model=model, messages=MESSAGES))
    assert error.message and error.response.headers["x-gateway-attempt-count"] == "1"
    error = raises(kind, lambda: naive(model))


@check
def retries_reach_a_healed_upstream():
    key = f"{os.getpid()}-{openai.__version__}"
    for stream in (False, True):
        headers = {"x-mock-fail-first": "1", "x-mock-key": f"{key}-{stream}", "x-mock-retry-after": "0"}
        create = client(max_retries=1).chat.completions.create
        raises(
            openai.InternalServerError,
            lambda: client().chat.completions.create(
                model="plain", messages=MESSAGES, extra_headers={**headers, "x-mock-key": f"{key}-control-{stream}"}
            ),
        )
        answer = create(model="plain", messages=MESSAGES, stream=stream, extra_headers=headers)
        if stream:
            equal("".join(chunk.choices[0].delta.content or "" for chunk in answer), TEXT)
        else:
            equal(answer.choices[0].message.content, TEXT)


run()
