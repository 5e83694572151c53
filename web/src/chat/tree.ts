/** The messages of a conversation form a tree; a branch of it, from the first message to a leaf, is shown. */

import type { Message } from "../api/types";

export type Tree = ReadonlyMap<string | null, readonly Message[]>;

/** The messages that follow each one (null: the first ones), oldest first. */
export function childrenOf(messages: readonly Message[]): Tree {
  const tree = new Map<string | null, Message[]>();
  for (const message of messages) {
    const siblings = tree.get(message.parent_id);
    if (siblings) siblings.push(message);
    else tree.set(message.parent_id, [message]);
  }
  for (const siblings of tree.values()) siblings.sort((a, b) => a.created - b.created);
  return tree;
}

/** The last message of the branch that goes on from `id` by the newest message each time. */
export function newestLeaf(tree: Tree, id: string | null): string | null {
  for (let next = tree.get(id)?.at(-1); next; next = tree.get(id)?.at(-1)) id = next.id;
  return id;
}

/** From the first message to `leaf`, and on to the newest leaf under it. An unknown leaf: the newest branch. */
export function branchTo(messages: readonly Message[], leaf: string | null): Message[] {
  const tree = childrenOf(messages);
  const byId = new Map(messages.map((message) => [message.id, message]));
  const branch: Message[] = [];
  for (let id = newestLeaf(tree, leaf !== null && byId.has(leaf) ? leaf : null); id !== null; ) {
    const message = byId.get(id);
    if (!message) break;
    branch.push(message);
    id = message.parent_id;
  }
  return branch.reverse();
}

/** Two answers to one question that a comparison can set side by side: the newest with a thought and without. */
export function comparable(siblings: readonly Message[]): [Message, Message] | null {
  const thinking = siblings.findLast((message) => message.role === "assistant" && message.thinking === true);
  const plain = siblings.findLast((message) => message.role === "assistant" && message.thinking === false);
  return thinking && plain ? [thinking, plain] : null;
}
