"""anthropic-python against the gateway: raw loops and helpers, errors, tools, broken streams."""

import anthropic

from check import CUTS, GATEWAY, GATEWAYS, KEY, TEXT, check, check_each, equal, raises, run

ASK = {"max_tokens": 100, "messages": [{"role": "user", "content": "Say something."}]}
TOOLS = [{
    "name": "read_file",
    "description": "Reads a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}]


def client(gateway=GATEWAY, **options):
    """A client as users make it, but without retries."""
    return anthropic.Anthropic(**{"base_url": gateway, "api_key": KEY, "max_retries": 0, "timeout": 20, **options})


def events(model, gateway=GATEWAY, **options):
    """All events of a raw stream."""
    return list(client(gateway).messages.create(model=model, stream=True, **{**ASK, **options}))


def raw(model, gateway=GATEWAY):
    """The loop of every tutorial."""
    text = ""
    for event in client(gateway).messages.create(model=model, stream=True, **ASK):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            text += event.delta.text
    return text


def helper(model, gateway=GATEWAY):
    """The SDK's own accumulation."""
    with client(gateway).messages.stream(model=model, **ASK) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    equal(message.stop_reason, "end_turn")
    equal(message.usage.output_tokens, 4)
    equal(message.content[0].text, text)
    return text


@check_each("claude-plain", "claude-switch")
def messages(model):
    answer = client().messages.with_raw_response.create(model=model, **ASK)
    message = answer.parse()
    equal(message.content[0].text, TEXT)
    equal((message.stop_reason, message.usage.output_tokens), ("end_turn", 4))
    switched = model == "claude-switch"
    equal(answer.headers["x-gateway-model-used"], "claude-plain")
    equal(answer.headers["x-gateway-attempt-count"], "2" if switched else "1")
    equal(answer.headers["x-gateway-switched"], "1" if switched else "0")
    assert answer.headers["x-gateway-request-id"]
    notice = (message.model_extra or {}).get("gateway_notice")
    equal(notice and (notice["fromModel"], notice["to_model"]),
          ("claude-switch", "claude-plain") if switched else None)


@check_each(*GATEWAYS)
def helper_without_switch(mode):
    equal(helper("claude-plain", GATEWAYS[mode]), TEXT)


@check_each(*GATEWAYS)
def helper_with_switch(mode):
    equal(helper("claude-switch", GATEWAYS[mode]), TEXT)


@check_each(*GATEWAYS)
def raw_without_switch(mode):
    equal(raw("claude-plain", GATEWAYS[mode]), TEXT)


@check_each(*GATEWAYS)
def raw_with_switch(mode):
    equal(raw("claude-switch", GATEWAYS[mode]), TEXT)


@check
def the_seed_form_is_an_event_without_a_type():
    first = events("claude-switch", GATEWAYS["event"])[0]
    equal(first.type, "message_start" if anthropic.__version__.startswith("0.") else None)
    for mode in ("chunk", "comment", "off"):
        assert all(event.type for event in events("claude-switch", GATEWAYS[mode])), mode


@check_each(*GATEWAYS)
def notice_on_the_wire(mode):
    create = client(GATEWAYS[mode]).messages.with_streaming_response.create
    with create(model="claude-switch", stream=True, **ASK) as response:
        first = next(line for line in response.iter_lines() if line)
    expected = {
        "chunk": "event: ping",
        "event": "event: gateway_notice",
        "comment": ": gateway_notice {",
        "off": "event: message_start",
    }
    equal(first[: len(expected[mode])], expected[mode])


@check_each("chunk", "comment", "off")
def tools(mode):
    for model in ("claude-tools", "claude-switch-tools"):
        message = client(GATEWAYS[mode]).messages.create(model=model, tools=TOOLS, **ASK)
        call = message.content[0]
        equal((message.stop_reason, call.name, call.input), ("tool_use", "read_file", {"path": "src/main.rs"}))
        with client(GATEWAYS[mode]).messages.stream(model=model, tools=TOOLS, **ASK) as stream:
            partial = [event.partial_json for event in stream if event.type == "input_json"]
            call = stream.get_final_message().content[0]
        equal((call.name, call.input, len(partial)), ("read_file", {"path": "src/main.rs"}, 3))


@check
def count_tokens():
    assert client().messages.count_tokens(model="claude-plain", messages=ASK["messages"]).input_tokens > 0
    assert client().beta.messages.count_tokens(model="claude-plain", messages=ASK["messages"]).input_tokens > 0


@check
def models():
    ids = {model.id for model in client().models.list(limit=1000)}
    assert "claude-plain" in ids, ids


@check_each("", "/anthropic")
def base_url_and_both_credentials(prefix):
    for credential in ({"api_key": KEY}, {"api_key": None, "auth_token": KEY}):
        user = client(GATEWAY + prefix, **credential)
        equal(user.messages.create(model="claude-plain", **ASK).content[0].text, TEXT)
        with user.messages.stream(model="claude-plain", **ASK) as stream:
            equal("".join(stream.text_stream), TEXT)
        assert user.messages.count_tokens(model="claude-plain", messages=ASK["messages"]).input_tokens > 0


@check
def beta_path_with_a_query():
    equal(client().beta.messages.create(model="claude-plain", **ASK).content[0].text, TEXT)


@check_each(*CUTS)
def broken_stream_raises_in_the_raw_loop(cut):
    raises(anthropic.APIError, lambda: raw(f"claude-{cut}"))


@check_each(*CUTS)
def broken_stream_raises_in_the_helper(cut):
    raises(anthropic.APIError, lambda: helper(f"claude-{cut}"))


@check
def unknown_model():
    for stream in (False, True):
        error = raises(
            anthropic.NotFoundError,
            lambda: client().messages.create(model="claude-plane", stream=stream, **ASK),
        )
        equal(error.body["type"], "error")
        equal(error.body["error"]["type"], "not_found_error")
        equal(error.body["error"]["details"]["error_code"], "model_not_found")


@check
def unknown_key():
    for credential in ({"api_key": "x" * 20}, {"api_key": None, "auth_token": "x" * 20}):
        error = raises(
            anthropic.AuthenticationError,
            lambda: client(**credential).messages.create(model="claude-plain", **ASK),
        )
        equal(error.body["error"]["type"], "authentication_error")


@check
def upstream_refusal_is_passed_on():
    raises(anthropic.InternalServerError, lambda: client().messages.create(model="claude-busy", **ASK))
    raises(anthropic.RateLimitError, lambda: client().messages.create(model="claude-limited", **ASK))
    raises(anthropic.RateLimitError, lambda: raw("claude-limited"))


@check
def retries_reach_a_healed_upstream():
    headers = {"x-mock-fail-first": "1", "x-mock-key": f"a-{anthropic.__version__}", "x-mock-retry-after": "0"}
    message = client(max_retries=1).messages.create(model="claude-plain", extra_headers=headers, **ASK)
    equal(message.content[0].text, TEXT)


run()
