import { describe, expect, test, vi } from "vitest";
import { page, userEvent } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { classified, operationOf, reviewDesk, SPEC, specOf } from "../../tests-support/review";
import { fakeServer, problem } from "../../tests-support/server";

const PATH = `/review/${SPEC}`;

async function openReview(count = 10, path = PATH, width = 1280) {
  const server = fakeServer("operator");
  const desk = reviewDesk(Array.from({ length: count }, (_, n) => operationOf(n)));
  server.review(desk);
  const opened = await openPage(server, { path, width, height: 844 });
  await expect.element(page.getByRole("grid")).toBeVisible();
  return { server, desk, ...opened };
}

const row = (name: string | RegExp) => page.getByRole("row", { name });
const title = () => page.getByRole("heading", { level: 2 });
const toast = (text: string | RegExp) => page.getByRole("status").getByText(text);
const stateOf = (desk: ReturnType<typeof reviewDesk>, n: number) =>
  desk.get(operationOf(n).id)?.state;

describe("a review", () => {
  test("shows the groups, what is left, and the lines beside the suggestion", async () => {
    await openReview();

    await expect.element(page.getByText("10 of 10 left")).toBeVisible();
    await expect.element(page.getByText("What is not approved cannot be called.")).toBeVisible();
    await expect.element(row(/Reads on which all rules agree 4/)).toBeVisible();
    const lines = page.getByRole("region", { name: "Lines of the document" });
    await expect.element(lines).toHaveTextContent("get:");
    await expect.element(page.getByText("shop.yaml, line 120")).toBeVisible();
    await expect.element(page.getByText("GET only reads.")).toBeVisible();
    await expect.element(page.getByText("420 B, about 105 tokens")).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("approves the clear reads at once, and takes it back with one key", async () => {
    const { desk } = await openReview();

    await page.getByRole("button", { name: "Approve 4 clear reads" }).click();

    await expect.element(toast(/Approved 4 operations/)).toBeVisible();
    await expect.element(page.getByText("6 of 10 left")).toBeVisible();
    expect([0, 2, 5, 7].map((n) => stateOf(desk, n))).toEqual(Array(4).fill("approved"));
    await expectAccessible();
    await userEvent.keyboard("u");
    await expect.element(toast(/Taken back for 4 operations/)).toBeVisible();
    await expect.element(page.getByText("10 of 10 left")).toBeVisible();
    expect(stateOf(desk, 0)).toBe("pending");
  });

  test("is walked and decided by keys", async () => {
    const { desk } = await openReview();
    await expect.element(title()).toHaveTextContent("GET /things/0");

    await userEvent.keyboard("j");
    await expect.element(title()).toHaveTextContent("GET /things/2/history");
    await userEvent.keyboard("k");
    await userEvent.keyboard("a");
    await expect.element(toast("Approved GET /things/0.")).toBeVisible();
    await expect.element(title()).toHaveTextContent("GET /things/2/history");
    await userEvent.keyboard("w");
    await expect.element(toast("Corrected GET /things/2/history.")).toBeVisible();
    expect(desk.bodies.at(-1)?.[0]).toMatchObject({ access: "write", confirm: true });
    await userEvent.keyboard("c");
    await vi.waitFor(() => expect(desk.bodies.at(-1)?.[0]).toMatchObject({ confirm: false }));
    await vi.waitFor(() => expect(desk.get(operationOf(2).id)?.classification.confirm).toBe(false));
    await userEvent.keyboard("/");
    await expect.element(page.getByRole("searchbox")).toHaveFocus();
    await userEvent.keyboard("refunds");
    await vi.waitFor(() => expect(page.getByRole("row").elements()).toHaveLength(3));
    expect(stateOf(desk, 3)).toBe("pending");
  });

  test("selects a range and rejects it with a reason", async () => {
    const { desk } = await openReview(10, `${PATH}?group=sensitive`);

    await userEvent.keyboard("xj{Shift>}X{/Shift}");
    const bar = page.getByRole("region", { name: "Selected operations" });
    await expect.element(bar).toHaveTextContent("2 operations selected");
    await expect.element(bar.getByRole("button", { name: "Reject 2" })).toBeDisabled();
    await bar.getByRole("textbox").fill("not ours");
    await bar.getByRole("button", { name: "Reject 2" }).click();

    await expect.element(toast("Rejected 2 operations.")).toBeVisible();
    expect(desk.bodies.at(-1)?.map(({ reason }) => reason)).toEqual(["not ours", "not ours"]);
    expect(bar.query()).toBeNull();
  });

  test("leaves alone what must always ask, and says so", async () => {
    const { desk } = await openReview(10, `${PATH}?group=sensitive`);

    await userEvent.keyboard("r");

    await expect.element(page.getByText(/1 operation left as they were/)).toBeInTheDocument();
    expect(desk.bodies).toEqual([]);
    await expect.element(page.getByRole("checkbox", { name: /Asks the customer/ })).toBeDisabled();
    await expectAccessible();
  });

  test("corrects everything that can be corrected, and sends only that", async () => {
    const { desk } = await openReview(10, `${PATH}?op=${operationOf(1).id}`);
    const form = page.getByRole("form", { name: "Correct and decide" });

    await form.getByText("Read", { exact: true }).click();
    await form.getByRole("combobox", { name: "Risk" }).selectOptions("low");
    await form.getByRole("combobox", { name: "Agent" }).fill("orders");
    await form.getByRole("textbox", { name: "Idempotency header" }).fill("X-Once");
    await form
      .getByRole("combobox", { name: "Fill customer_id with" })
      .selectOptions("customer_id");
    await form.getByRole("textbox", { name: "Why" }).fill("It only looks.");
    await form.getByRole("button", { name: "Approve as corrected" }).click();

    await expect.element(toast("Approved POST /things/1.")).toBeVisible();
    expect(desk.bodies).toEqual([
      [
        {
          operation_id: operationOf(1).id,
          version: 1,
          state: "approved",
          access: "read",
          confirm: false,
          risk: "low",
          agent: "orders",
          idempotency_header: "X-Once",
          bindings: { customer_id: "customer_id" },
          reason: "It only looks.",
        },
      ],
    ]);
  });

  test("tells who was quicker, changes nothing, and shows how it stands", async () => {
    const { desk } = await openReview();
    desk.overtake(operationOf(2).id, "op_kim");

    await page.getByRole("button", { name: "Approve 4 clear reads" }).click();

    const alert = page.getByRole("alert");
    await expect
      .element(alert)
      .toHaveTextContent("op_kim changed GET /things/2/history (now rejected).");
    await expect.element(row(/Reads on which all rules agree 3/)).toBeVisible();
    await expect.element(page.getByText("9 of 10 left")).toBeVisible();
    expect(stateOf(desk, 0)).toBe("pending");
    await expectAccessible();
    await page.getByRole("button", { name: "Dismiss" }).click();
    await page.getByRole("button", { name: "Approve 3 clear reads" }).click();
    await expect.element(toast("Approved 3 operations.")).toBeVisible();
  });

  test("keeps who, when and why, and takes back from the history", async () => {
    const { desk } = await openReview();
    await page.getByRole("button", { name: "Approve 4 clear reads" }).click();
    await expect.element(toast("Approved 4 operations.")).toBeVisible();

    await page.getByRole("button", { name: "History" }).click();
    const drawer = page.getByRole("dialog");
    await expect.element(drawer.getByText("Approved: 4 operations")).toBeVisible();
    await expectAccessible();
    await drawer.getByRole("button", { name: "Undo: Approved: 4 operations" }).click();

    await expect.element(drawer.getByText("Taken back: 4 operations")).toBeVisible();
    await vi.waitFor(() => expect(stateOf(desk, 0)).toBe("pending"));
  });

  test("filters by the address, and says when nothing matches", async () => {
    const { history } = await openReview();

    await page.getByRole("combobox", { name: "Tag" }).selectOptions("odd");
    await vi.waitFor(() => expect(history.location.search).toBe("?tag=odd"));
    await page.getByRole("button", { name: /^High risk/ }).click();
    await vi.waitFor(() => expect(page.getByRole("row").elements()).toHaveLength(2));
    await page.getByRole("combobox", { name: "State" }).selectOptions("Approved");

    await expect.element(page.getByText("Nothing matches this filter")).toBeVisible();
    await expectAccessible();
    await page.getByRole("button", { name: "Show all operations" }).click();
    await expect.element(row(/Money, contact/)).toBeVisible();
  });

  test("fits a phone: the list first, an operation over it", async () => {
    await openReview(10, PATH, 390);
    expectNoSidewaysScroll();
    await expectAccessible();

    await row(/POST \/things\/3\/refunds/).click();

    await expect.element(title()).toHaveTextContent("POST /things/3/refunds");
    await expect.element(page.getByRole("grid")).not.toBeInTheDocument();
    expectNoSidewaysScroll();
    await expectAccessible();
    await page.getByRole("button", { name: "List" }).click();
    await expect.element(page.getByRole("grid")).toBeVisible();
  });

  test("is accessible in the dark", async () => {
    await openReview();
    await page.getByRole("button", { name: "Switch to the dark look" }).click();
    await page.getByRole("checkbox", { name: "Select GET /things/0" }).click();

    await expectAccessible();
    await page.getByRole("button", { name: "Switch to the light look" }).click();
  });

  test("shows its keys", async () => {
    await openReview();

    await userEvent.keyboard("?");

    await expect.element(page.getByText("Take the last decision back")).toBeVisible();
    await expectAccessible();
  });

  test("of six hundred operations draws only what is in sight and goes where the keys go", async () => {
    const server = fakeServer("operator");
    server.review(reviewDesk(Array.from({ length: 600 }, (_, n) => operationOf(n))));
    const { history } = await openPage(server, { path: PATH });
    await expect.element(page.getByText("600 of 600 left")).toBeVisible();
    expect(page.getByRole("row").elements().length).toBeLessThan(40);

    const grid = page.getByRole("grid").element();
    for (let n = 0; n < 100; n += 1) {
      window.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
      await new Promise((resolve) => setTimeout(resolve));
    }
    await expect.element(title()).toHaveTextContent("GET /things/250");
    await vi.waitFor(() => expect(history.location.search).toContain("op="));
    grid.scrollTop = grid.scrollHeight;
    await expect.element(row("POST /things/596")).toBeVisible();
    grid.scrollTop = 0;
    await page.getByRole("button", { name: "Approve 240 clear reads" }).click();
    await expect.element(page.getByText("360 of 600 left")).toBeVisible();
  }, 60_000);
});

describe("an operation", () => {
  async function openOne(more: Parameters<typeof operationOf>[1]) {
    const server = fakeServer("operator");
    const desk = reviewDesk([operationOf(1, more), operationOf(3)]);
    server.review(desk);
    await openPage(server, { path: `${PATH}?op=${operationOf(1).id}` });
    await expect.element(page.getByRole("grid")).toBeVisible();
    return { server, desk };
  }

  test("says how sure each reason is, and on which line it stands", async () => {
    await openOne({});

    await expect
      .element(page.getByText("POST may change something. sure · line 120"))
      .toBeVisible();
  });

  test("that a new document changed shows what, and what of it breaks", async () => {
    await openOne({ state: "changed", breaking: true, version: 3 });

    const changes = page.getByRole("table");
    await expect
      .element(changes.getByRole("row", { name: /argument amount/ }))
      .toHaveTextContent("argument amount breaksoptional, type numberrequired, type string");
    await expect.element(row(/GET|POST \/things\/1 .*breaks calls as before/)).toBeVisible();
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("that was a read and writes now is marked first of all", async () => {
    await openOne({ state: "changed", breaking: true, turned_write: true });

    await expect.element(page.getByText("was a read, writes now")).toBeVisible();
  });

  test("that is gone from the document is shown, and there is nothing to decide", async () => {
    const { desk } = await openOne({ state: "removed" });

    await expect.element(row(/Removed from the document 1/)).toBeVisible();
    await expect.element(page.getByText(/there is nothing to decide/)).toBeVisible();
    expect(page.getByRole("form", { name: "Correct and decide" }).query()).toBeNull();
    await userEvent.keyboard("a");
    await expect.element(page.getByText(/1 operation left as they were/)).toBeInTheDocument();
    expect(desk.bodies).toEqual([]);
    await expectAccessible();
  });

  test("on which not all rules agree is not among the clear reads", async () => {
    const server = fakeServer("operator");
    server.review(reviewDesk([operationOf(0), operationOf(5, { clear: false })]));
    await openPage(server, { path: PATH });

    await expect.element(row(/Reads on which all rules agree 1/)).toBeVisible();
    await expect.element(row(/Rules disagree 1/)).toBeVisible();
  });

  test("shows its exact request, for made up arguments and for given ones", async () => {
    await openOne({});
    await page.getByText("Dry run").click();

    await page.getByRole("button", { name: "Show the request" }).click();
    const request = page.getByRole("region", { name: "The request" });
    await expect.element(request).toHaveTextContent("POST https://api.shop.example/things/1");
    const given = page.getByRole("textbox", { name: "Arguments, as the model gives them" });
    await expect.element(given).toHaveValue('{\n  "thing_id": "made up"\n}');
    await given.fill('{"thing_id": 7}');
    await page.getByRole("button", { name: "Show the request" }).click();
    await expect.element(request).toHaveTextContent('{"thing_id":7,"customer_id":"customer-1"}');
    await expectAccessible();
    await given.fill("[7");
    await page.getByRole("button", { name: "Show the request" }).click();
    await expect.element(page.getByText(/Write a JSON object/)).toBeVisible();
  });

  test("is told how it is called, field by field", async () => {
    const { desk } = await openOne({});
    await page.getByText("How it is called").click();
    const form = page.getByRole("form", { name: "Correct and decide" });

    await form.getByRole("combobox", { name: "Done twice is done once" }).selectOptions("yes");
    const lookup = form.getByRole("textbox", { name: "What shows whether a write took effect" });
    await lookup.fill("{");
    await expect.element(form.getByText("Write a JSON object.")).toBeVisible();
    await lookup.fill('{"operation": "GET /things/0"}');
    await form.getByRole("textbox", { name: "Fails together with" }).fill("slow");
    await form.getByRole("textbox", { name: /Keys are remembered/ }).fill("600");
    // Key by key: a comma must stand before what comes after it.
    await form.getByRole("textbox", { name: /Fields of the answer/ }).click();
    await userEvent.keyboard("id, data.state");
    await form.getByRole("checkbox", { name: /nothing says whose/ }).click();
    await expectAccessible();
    await form.getByRole("button", { name: "Approve as corrected" }).click();

    await vi.waitFor(() => expect(desk.bodies).toHaveLength(1));
    expect(desk.bodies[0]?.[0]).toMatchObject({
      repeatable: true,
      lookup: { operation: "GET /things/0" },
      breaker_group: "slow",
      idempotency_lifetime_s: 600,
      answer_fields: ["id", "data.state"],
      unbindable: true,
    });
  });

  test("is said to be repeatable no more once nobody knows", async () => {
    const { desk } = await openOne({ classification: classified({ repeatable: true }) });
    await page.getByText("How it is called").click();
    const form = page.getByRole("form", { name: "Correct and decide" });

    const said = form.getByRole("combobox", { name: "Done twice is done once" });
    await expect.element(said).toHaveValue("yes");
    await said.selectOptions("unknown");
    await form.getByRole("button", { name: "Approve as corrected" }).click();

    await vi.waitFor(() => expect(desk.bodies).toHaveLength(1));
    expect(desk.bodies[0]?.[0]).toMatchObject({ repeatable: "unknown" });
  });

  test("is told how far an accepted request is, how old an answer may be, and to walk pages", async () => {
    const pages = { style: "cursor", parameter: "after", size: null, next: ["next"], start: 0 };
    const suggestion = classified({ pagination: pages });
    const { desk } = await openOne({ suggestion, classification: suggestion });
    await page.getByText("How it is called").click();
    const form = page.getByRole("form", { name: "Correct and decide" });

    await expect.element(form.getByText(JSON.stringify(pages))).toBeVisible();
    await form.getByRole("checkbox", { name: /Its pages are walked/ }).click();
    await form
      .getByRole("textbox", { name: "What says how far" })
      .fill('{"operation": "GET /jobs/{id}", "arguments": {"id": "/answer/id"}}');
    await form.getByRole("textbox", { name: /An answer may be used again/ }).fill("30");
    await form.getByRole("button", { name: "Approve as corrected" }).click();

    await vi.waitFor(() => expect(desk.bodies).toHaveLength(1));
    expect(desk.bodies[0]?.[0]).toMatchObject({
      paged: false,
      status: { operation: "GET /jobs/{id}", arguments: { id: "/answer/id" } },
      cacheable_s: 30,
    });
  });

  test("loses a link whose field is emptied, and is not approved on one that cannot be read", async () => {
    const lookup = { operation: "GET /a", arguments: {}, items: "", equal: {}, since: null };
    const { desk } = await openOne({ classification: classified({ lookup }) });
    const fold = page.getByText("How it is called");
    await fold.click();
    const form = page.getByRole("form", { name: "Correct and decide" });
    const field = form.getByRole("textbox", { name: "What shows whether a write took effect" });
    await expect.element(field).toHaveValue(JSON.stringify(lookup));

    await field.fill("[]");
    await fold.click();
    await form.getByRole("button", { name: /^Approve/ }).click();
    await expect.element(field).toBeVisible();
    await expect.element(form.getByText("Write a JSON object.")).toBeVisible();
    expect(desk.bodies).toEqual([]);
    await field.fill("");
    await form.getByRole("button", { name: "Approve as corrected" }).click();

    await vi.waitFor(() => expect(desk.bodies).toHaveLength(1));
    expect(desk.bodies[0]?.[0]).toMatchObject({ lookup: { operation: "" } });
  });

  test("demands more than a yes by rules that a person can write", async () => {
    const { server, desk } = await openOne({});
    await page.getByText("How it is called").click();
    const form = page.getByRole("form", { name: "Correct and decide" });

    await form.getByRole("checkbox", { name: /yes once for a whole conversation/ }).click();
    await form.getByRole("button", { name: "Add a threshold" }).click();
    const threshold = form.getByRole("group", { name: "Threshold 1" });
    await threshold.getByRole("combobox", { name: "If" }).fill("/body/amount");
    await threshold.getByRole("combobox", { name: "is" }).selectOptions("at least");
    await threshold.getByRole("textbox", { name: "a number or text" }).fill("99.5");
    await threshold
      .getByRole("combobox", { name: "then asks" })
      .selectOptions("the customer, each time");
    await form.getByRole("button", { name: "Add a limit per customer" }).click();
    await form.getByRole("button", { name: "Add a limit per customer" }).click();
    await form.getByRole("button", { name: "Delete limit 1" }).click();
    const limit = form.getByRole("group", { name: "Limit 1" });
    await limit.getByRole("spinbutton", { name: "passes" }).fill("3");
    await limit.getByRole("spinbutton", { name: "in hours" }).fill("48");
    await expectAccessible();
    expectNoSidewaysScroll();
    const good = server.routes["POST /api/specs/*/decisions"];
    server.routes["POST /api/specs/*/decisions"] = () =>
      problem(422, "CONF_RULE_INVALID", "Only what has a low risk takes standing consent.");
    await form.getByRole("button", { name: "Approve as corrected" }).click();
    await expect.element(page.getByRole("alert")).toHaveTextContent("takes standing consent");
    if (good) server.routes["POST /api/specs/*/decisions"] = good;
    await form.getByRole("checkbox", { name: /yes once for a whole conversation/ }).click();
    await form.getByRole("button", { name: "Approve as corrected" }).click();

    await vi.waitFor(() => expect(desk.bodies).toHaveLength(1));
    expect(desk.bodies[0]?.[0]?.approval_rules).toEqual({
      standing_consent: false,
      thresholds: [{ argument: "/body/amount", comparison: "ge", value: 99.5, who: "customer" }],
      limits: [{ argument: null, limit: 3, window_hours: 48 }],
    });
  });
});

describe("what cannot be reviewed", () => {
  test("a document that is not there", async () => {
    const server = fakeServer("operator");
    server.routes["GET /api/specs/*/operations"] = () => problem(404, "VAL_NOT_FOUND", "No.");
    await openPage(server, { path: "/review/0193a5c0-0000-7000-8000-000000000001" });

    await expect.element(page.getByText("There is no such document")).toBeVisible();
    await expectAccessible();
  });

  test("one that cannot be loaded just now, until it can", async () => {
    const server = fakeServer("operator");
    server.review(reviewDesk([operationOf(0)]));
    const good = server.routes["GET /api/specs/*/operations"];
    server.routes["GET /api/specs/*/operations"] = () => problem(403, "AUTH_NO", "Not now.");
    await openPage(server, { path: PATH });
    await expect.element(page.getByRole("alert")).toHaveTextContent("Not now.");
    await expectAccessible();

    if (good) server.routes["GET /api/specs/*/operations"] = good;
    await page.getByRole("button", { name: "Try again" }).click();

    await expect.element(page.getByText("1 of 1 left")).toBeVisible();
  });

  test("one without operations", async () => {
    const server = fakeServer("operator");
    server.review(reviewDesk([], specOf({ skipped: [{ key: "GET /x", reason: "It is odd." }] })));
    await openPage(server, { path: PATH });

    await expect.element(page.getByText("There is nothing to review")).toBeVisible();
    await page.getByText("1 remark on the document").click();
    await expect.element(page.getByText("It is odd.")).toBeVisible();
  });
});

test("the base URL is said, changed, and refused with the reason", async () => {
  const server = fakeServer("operator");
  server.review(reviewDesk([operationOf(0)], specOf({ base_url: null })));
  const asked: unknown[] = [];
  server.routes["PUT /api/specs/*/base-url"] = async (_, request) => {
    asked.push(await request.json());
    return asked.length === 1
      ? problem(422, "VAL_INVALID_INPUT", "Not that.")
      : new Response(JSON.stringify(specOf()), {
          headers: { "content-type": "application/json" },
        });
  };
  await openPage(server, { path: PATH });
  await expect.element(page.getByText("Nobody has said where its API is")).toBeVisible();

  await page.getByRole("button", { name: "Set the base URL" }).click();
  await page.getByRole("textbox", { name: "Base URL" }).fill("https://api.shop.example");
  await page.getByRole("button", { name: "Save" }).click();
  await expect.element(page.getByRole("alert")).toHaveTextContent("Not that.");
  await page.getByRole("button", { name: "Save" }).click();

  await vi.waitFor(() => expect(asked).toHaveLength(2));
  await expect.element(page.getByRole("textbox", { name: "Base URL" })).not.toBeInTheDocument();
});
