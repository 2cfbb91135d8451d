import { describe, expect, test, vi } from "vitest";
import { page } from "vitest/browser";
import { drop, entryOf, folderOf } from "../../tests-support/dropped";
import { expectAccessible, expectNoSidewaysScroll, openPage } from "../../tests-support/page";
import { importedOf, operationOf, reviewDesk, specOf } from "../../tests-support/review";
import { fakeServer, json, problem } from "../../tests-support/server";
import { uploadDocument } from "../api/upload";

const file = () => new File(["openapi: 3.1.0"], "shop.yaml");
const picker = () => page.getByLabelText("OpenAPI document", { exact: true });

describe("all documents", () => {
  test("are listed with what is left of each", async () => {
    const server = fakeServer("operator");
    server.review(
      reviewDesk([operationOf(0), operationOf(1), operationOf(2, { state: "approved" })]),
    );
    await openPage(server, { path: "/review" });

    await expect.element(page.getByText("2 of 3 left")).toBeVisible();
    await expectAccessible();
    await page.getByRole("link", { name: "Shop" }).click();
    await expect.element(page.getByRole("grid")).toBeVisible();
  });

  test("are told apart from none and from a failure", async () => {
    const server = fakeServer("operator");
    const { screen } = await openPage(server, { path: "/review", width: 390 });
    await expect.element(page.getByText("No API is imported yet")).toBeVisible();
    expectNoSidewaysScroll();
    await expectAccessible();
    await screen.unmount();

    server.routes["GET /api/specs"] = () => problem(403, "AUTH_NO", "Not you.");
    await openPage(server, { path: "/review" });
    await expect.element(page.getByRole("alert")).toHaveTextContent("Not you.");
  });
});

describe("dropping", () => {
  const field = () => page.getByText(/or drop it here/).element();

  test("a folder sends its documents as one archive", async () => {
    const server = fakeServer("operator");
    await openPage(server, { path: "/review" });
    const inside = [entryOf("openapi.yaml", "openapi: 3.1.0"), entryOf("a.md", "#")];

    await expect.element(page.getByText(/or drop it here/)).toBeVisible();
    drop(field(), [folderOf("shop", inside)]);

    await vi.waitFor(() => expect(server.uploads).toHaveLength(1));
    expect(server.uploads[0]?.file.name).toBe("shop.tar");
    expect(server.uploads[0]?.file.size).toBe(4 * 512);
  });

  test("one file sends it as it is", async () => {
    const server = fakeServer("operator");
    await openPage(server, { path: "/review" });

    await expect.element(page.getByText(/or drop it here/)).toBeVisible();
    drop(field(), [entryOf("shop.yaml", "openapi: 3.1.0")], [file()]);

    await vi.waitFor(() => expect(server.uploads[0]?.file.name).toBe("shop.yaml"));
  });

  test("what holds no document says so, and the page takes another one", async () => {
    const server = fakeServer("operator");
    await openPage(server, { path: "/review" });

    await expect.element(page.getByText(/or drop it here/)).toBeVisible();
    drop(field(), [folderOf("none", [entryOf("a.md", "#")])]);

    await expect.element(page.getByRole("alert")).toHaveTextContent("no JSON or YAML file");
    await expect.element(page.getByRole("button", { name: "Choose a document" })).toBeEnabled();
    expect(server.uploads).toEqual([]);
  });
});

describe("importing a file", () => {
  test("shows what has left, that it is read, and what came of it", async () => {
    const server = fakeServer("operator");
    await openPage(server, { path: "/review" });
    await page.getByRole("textbox", { name: "Name" }).fill(" Shop ");
    await picker().upload(file());

    const sent = server.uploads[0];
    expect(sent).toMatchObject({ token: "good", name: "Shop" });
    expect(sent?.file.name).toBe("shop.yaml");
    sent?.onProgress(7, 14);
    await expect.element(page.getByText("7 B of 14 B", { exact: true })).toBeVisible();
    await expectAccessible();
    sent?.onProgress(14, 14);
    await expect.element(page.getByRole("status")).toHaveTextContent("Reading shop.yaml");
    const skipped = [{ key: "GET /odd", reason: "It cannot be used.", line: 7 }];
    server.answers[0]?.resolve(importedOf(specOf({ waiting_count: 4, skipped, base_url: null })));

    await expect
      .element(page.getByText("3 added, 1 changed, 0 removed, 7 unchanged."))
      .toBeVisible();
    await expect.element(page.getByRole("link", { name: "Review 4 operations" })).toBeVisible();
    await expect.element(page.getByText("set the base URL before you approve")).toBeVisible();
    await page.getByText("1 remark on the document").click();
    await expect.element(page.getByText("It cannot be used.")).toBeVisible();
    await expect.element(page.getByText("(line 7)")).toBeVisible();
    await expectAccessible();
  });

  test("shows how far the reading is", async () => {
    const server = fakeServer("operator");
    let asked = "";
    let times = 0;
    server.routes["GET /api/imports/*"] = (_, request) => {
      asked = new URL(request.url).pathname;
      const first = times++ === 0;
      return json(
        first
          ? { stage: "unknown", done: 0, total: 0 }
          : { stage: "converting", done: 50, total: 845 },
      );
    };
    await openPage(server, { path: "/review" });
    await picker().upload(file());
    const sent = server.uploads[0];
    sent?.onProgress(14, 14);

    // The first answer can be that of a process that knows nothing of it.
    await expect.element(page.getByRole("status")).toHaveTextContent("Reading shop.yaml");
    await expect.element(page.getByText("50 of 845 operations")).toBeVisible();
    await expect.element(page.getByRole("status")).toHaveTextContent("Converting shop.yaml");
    expect(asked).toBe(`/api/imports/${sent?.importId}`);
    await expectAccessible();
  });

  test("says why it was refused, and can be tried again", async () => {
    const server = fakeServer("operator");
    await openPage(server, { path: "/review" });
    await picker().upload(file());
    server.answers[0]?.reject({
      code: "FILE_BROKEN",
      title: "Broken.",
      detail: "line 3",
      status: 422,
    });

    await expect.element(page.getByRole("alert")).toHaveTextContent("line 3");
    await expectAccessible();
    await picker().upload(file());
    expect(server.uploads).toHaveLength(2);
  });

  test("can be cancelled, and is when the page is left", async () => {
    const server = fakeServer("operator");
    const { screen } = await openPage(server, { path: "/review" });
    await picker().upload(file());
    await page.getByRole("button", { name: "Cancel" }).click();
    await expect.element(page.getByRole("button", { name: "Choose a document" })).toBeEnabled();
    expect(page.getByRole("alert").query()).toBeNull();

    await picker().upload(file());
    await screen.unmount();

    expect(server.uploads.map(({ signal }) => signal.aborted)).toEqual([true, true]);
  });

  test("takes what is dropped", async () => {
    const server = fakeServer("operator");
    await openPage(server, { path: "/review" });
    await expect.element(page.getByText(/or drop it here/)).toBeVisible();
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(file());
    const zone = page.getByText(/or drop it here/).element().parentElement;

    zone?.dispatchEvent(new DragEvent("dragover", { dataTransfer, bubbles: true }));
    zone?.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));

    await vi.waitFor(() => expect(server.uploads).toHaveLength(1));
  });
});

test("an address is fetched, and a failure of it said", async () => {
  const server = fakeServer("operator");
  const asked: unknown[] = [];
  server.routes["POST /api/specs/from-url"] = async (_, request) => {
    asked.push(await request.json());
    return asked.length === 1
      ? problem(422, "FILE_UNREACHABLE", "That document could not be fetched.")
      : json(importedOf(specOf({ waiting_count: 1 })), 201);
  };
  await openPage(server, { path: "/review" });
  await page.getByRole("textbox", { name: "or its address" }).fill("https://a.example/o.json");
  await page.getByRole("button", { name: "Fetch" }).click();
  await expect.element(page.getByRole("alert")).toHaveTextContent("could not be fetched");
  await page.getByRole("button", { name: "Fetch" }).click();

  await expect.element(page.getByRole("link", { name: "Review 1 operation" })).toBeVisible();
  expect(asked).toEqual(Array(2).fill({ url: "https://a.example/o.json", name: null }));
});

test("an upload that is cancelled says so, and nothing else", async () => {
  const cancel = new AbortController();
  const sent = uploadDocument({
    token: "t",
    file: file(),
    name: "Shop",
    importId: crypto.randomUUID(),
    signal: cancel.signal,
    onProgress: () => {},
  });

  cancel.abort();

  await expect(sent).rejects.toMatchObject({ name: "AbortError" });
});
