import { describe, expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { operationOf, reviewDesk, SPEC } from "../../tests-support/review";
import { fakeServer, json, problem } from "../../tests-support/server";
import type { components } from "../api/schema.gen";
import { auditSearch, between } from "./search";

type Entry = components["schemas"]["AuditEntry"];

function entryOf(number: number, more: Partial<Entry> = {}): Entry {
  return {
    number,
    at: "2026-11-23T18:00:00Z",
    actor: "op_lu",
    role: "operator",
    act: "credential_set",
    subject: SPEC,
    details: { name: "shop-key", environment: "live", kind: "scheme" },
    correlation_id: `cor-${number}`,
    hash: "ab".repeat(32),
    ...more,
  };
}

const asks = (server: ReturnType<typeof fakeServer>) =>
  server.asked.filter((each) => each.startsWith("GET /api/audit?")).at(-1) ?? "";

async function openLog(entries: Entry[], path = "/audit", width = 1280) {
  const server = fakeServer("operator");
  server.review(reviewDesk([operationOf(0)]));
  server.routes["GET /api/audit"] = (url) => {
    const before = Number(url.searchParams.get("before") ?? Number.POSITIVE_INFINITY);
    const limit = Number(url.searchParams.get("limit"));
    const act = url.searchParams.get("act");
    const found = entries.filter((each) => each.number < before && (!act || each.act === act));
    const shown = found.slice(0, limit);
    return json({
      entries: shown,
      next_before: shown.length === limit ? shown.at(-1)?.number : null,
    });
  };
  const { history } = await openPage(server, { path, width, height: 844 });
  return { server, history };
}

describe("the audit log", () => {
  test.each([1280, 390])("says who did what, when and to what, at %i pixels", async (width) => {
    await openLog(
      [
        entryOf(3),
        entryOf(2, {
          act: "operations_decided",
          subject: "0197a4c6-5b3e-7cc8-9d21-0000000000ff",
          details: { count: 4, states: ["approved", "rejected"], spec_id: SPEC },
        }),
        entryOf(1, {
          act: "access_denied",
          actor: "cus_ada",
          role: "customer",
          subject: "GET /api/dashboard",
          details: {},
        }),
      ],
      "/audit",
      width,
    );

    const rows = page.getByRole("row");
    await expect.element(page.getByText("Decided about operations").last()).toBeVisible();
    await expect.element(page.getByText(/count 4, states approved and rejected/)).toBeVisible();
    await expect.element(page.getByText("GET /api/dashboard").first()).toBeVisible();
    const links = page.getByRole("link", { name: "Shop", exact: true });
    expect(links.elements().map((each) => each.getAttribute("href"))).toEqual([
      `/review/${SPEC}`,
      `/review/${SPEC}`,
    ]);
    await page.getByText(/name shop-key/).click();
    await expect.element(page.getByText("cor-3")).toBeVisible();
    if (width > 1000) expect(rows.elements()).toHaveLength(4);
    await expectAccessible();
    expectNoSidewaysScroll();
  });

  test("is in the navigation of operators alone", async () => {
    await openLog([entryOf(1)]);
    await expect
      .element(page.getByRole("link", { name: "Audit log" }))
      .toHaveAttribute("data-status", "active");
  });

  test("is not for leads", async () => {
    await openPage(fakeServer("lead"), { path: "/audit" });

    await expect.element(page.getByText("This page is for another role")).toBeVisible();
    await expect.element(page.getByRole("link", { name: "Audit log" })).not.toBeInTheDocument();
  });

  test("is filtered by kind, person and day, and the address says so", async () => {
    const { server, history } = await openLog([
      entryOf(2),
      entryOf(1, { act: "signed_in", subject: "token 1" }),
    ]);

    await page.getByRole("combobox", { name: "What" }).selectOptions("signed_in");
    await expect.element(page.getByText("token 1").first()).toBeVisible();
    await expect
      .element(page.getByRole("cell", { name: "Set a credential" }))
      .not.toBeInTheDocument();
    await page.getByRole("textbox", { name: "Who" }).fill("op_lu");
    await page.getByLabelText("From").fill("2026-11-22");
    await page.getByLabelText("To", { exact: true }).fill("2026-11-23");

    await vi.waitFor(() => {
      const asked = new URLSearchParams(asks(server).split("?")[1]);
      expect(Object.fromEntries(asked)).toEqual({
        limit: "50",
        act: "signed_in",
        actor: "op_lu",
        since: new Date(2026, 10, 22).toISOString(),
        until: new Date(2026, 10, 24).toISOString(),
      });
    });
    expect(history.location.href).toContain("act=signed_in");
    expect(history.location.href).toContain("actor=op_lu");
  });

  test("shows a person's other acts when their name is followed", async () => {
    const { server } = await openLog([entryOf(1, { actor: "op_kim" })]);

    await page.getByRole("link", { name: "op_kim" }).click();

    await vi.waitFor(() => expect(asks(server)).toContain("actor=op_kim"));
    await expect.element(page.getByRole("textbox", { name: "Who" })).toHaveValue("op_kim");
  });

  test("is read page by page", async () => {
    const { server } = await openLog(
      Array.from({ length: 60 }, (_, n) => entryOf(60 - n, { correlation_id: `cor-${60 - n}` })),
    );
    await expect.element(page.getByRole("button", { name: "Older entries" })).toBeVisible();
    expect(page.getByRole("row").elements()).toHaveLength(51);

    await page.getByRole("button", { name: "Older entries" }).click();

    await vi.waitFor(() => expect(page.getByRole("row").elements()).toHaveLength(61));
    expect(asks(server)).toContain("before=11");
    await expect
      .element(page.getByRole("button", { name: "Older entries" }))
      .not.toBeInTheDocument();
  });

  test("is checked for being whole when somebody asks", async () => {
    const { server } = await openLog([entryOf(1)]);
    server.routes["GET /api/audit/check"] = () => json({ whole: false, first_broken: 7 });

    await page.getByRole("button", { name: "Check that it is whole" }).click();

    await expect.element(page.getByText(/Entry 7 was changed/)).toBeVisible();
  });

  test("tells nothing from a failure", async () => {
    const { server } = await openLog([]);
    await expect.element(page.getByText(/Nothing is written down/)).toBeVisible();
    server.routes["GET /api/audit"] = () => problem(403, "AUTH_NO", "Not you.");

    await page.getByRole("combobox", { name: "What" }).selectOptions("signed_in");

    await expect.element(page.getByRole("alert")).toHaveTextContent("Not you.");
  });
});

describe("the filter in the address", () => {
  test("keeps what it knows and drops the rest", () => {
    expect(
      auditSearch({ act: "signed_in", actor: 7, from: "2026-02-30x", to: "x", odd: 1 }),
    ).toEqual({
      act: "signed_in",
      actor: "7",
      from: undefined,
      to: undefined,
    });
    expect(auditSearch({ act: "toString", actor: "" })).toEqual({
      act: undefined,
      actor: undefined,
      from: undefined,
      to: undefined,
    });
  });

  test("reaches to the end of its last day", () => {
    expect(between({ to: "2026-12-31" })).toEqual({ until: new Date(2027, 0, 1).toISOString() });
    expect(between({})).toEqual({});
  });
});
