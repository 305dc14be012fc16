import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";

import { renderWithQueries } from "@/testing/render";
import { Dialog } from "./dialog";
import { Field, PasswordField } from "./field";
import { Menu } from "./menu";
import { Table } from "./table";

describe("a field", () => {
  it("is named by its label, and its help and complaint are read with it", () => {
    renderWithQueries(<Field label="Name" hint="As on the invoice" error="Too long" name="name" />);
    const field = screen.getByLabelText("Name");
    const described = field.getAttribute("aria-describedby")?.split(" ") ?? [];
    expect(described.map((id) => document.getElementById(id)?.textContent)).toEqual(["As on the invoice", "Too long"]);
    expect(field.getAttribute("aria-invalid")).toBe("true");
  });

  it("shows a password to who asks for it", async () => {
    renderWithQueries(<PasswordField label="Password" name="password" />);
    const field = screen.getByLabelText("Password");
    expect(field.getAttribute("type")).toBe("password");
    await userEvent.click(screen.getByRole("button", { name: "Show password" }));
    expect(field.getAttribute("type")).toBe("text");
  });
});

describe("a dialog", () => {
  it("is named by its title and closes by its cross", async () => {
    const onClose = vi.fn();
    renderWithQueries(
      <Dialog title="Delete the key" onClose={onClose}>
        It stops working at once.
      </Dialog>,
    );
    expect(screen.getByRole("dialog", { name: "Delete the key" })).toBeDefined();
    await userEvent.click(screen.getByRole("button", { name: "Close" }));
    expect(onClose).toHaveBeenCalledOnce();
  });

  it("that shows something once has no cross", () => {
    renderWithQueries(
      <Dialog title="Your key" onClose={vi.fn()} isSticky>
        iploop_…
      </Dialog>,
    );
    expect(screen.queryByRole("button", { name: "Close" })).toBeNull();
  });
});

it("a menu opens by its button and closes by Escape, which gives the focus back", async () => {
  renderWithQueries(
    <Menu label="Account" button="AB">
      <button type="button">Sign out</button>
    </Menu>,
  );
  const opener = screen.getByRole("button", { name: "Account" });
  await userEvent.click(opener);
  expect(opener.getAttribute("aria-expanded")).toBe("true");
  screen.getByRole("button", { name: "Sign out" }).focus();
  await userEvent.keyboard("{Escape}");
  expect(screen.queryByRole("button", { name: "Sign out" })).toBeNull();
  expect(document.activeElement).toBe(opener);
});

it("a table has a heading for every column, also for the one of buttons", () => {
  const columns = [
    { heading: "Key", cell: (row: string) => row },
    { heading: "Actions", cell: () => "Delete", isAction: true },
  ];
  renderWithQueries(<Table label="Keys" columns={columns} rows={["first"]} keyOf={(row) => row} />);
  expect(screen.getAllByRole("columnheader").map((cell) => cell.textContent)).toEqual(["Key", "Actions"]);
  expect(screen.getByRole("table", { name: "Keys" })).toBeDefined();
});
