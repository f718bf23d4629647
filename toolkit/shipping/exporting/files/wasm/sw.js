// Keeps the page for use without a network. Made by edgepress.
const KEPT = "edgepress @HASH@ ", NAME = KEPT + registration.scope;
const FILES = ["./", "index.html", "manifest.webmanifest", "icon.svg"].map((path) => new URL(path, registration.scope).href);

addEventListener("install", (event) => event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(FILES)).then(() => skipWaiting())));
addEventListener("activate", (event) => event.waitUntil(removeOlder().then(() => clients.claim())));
addEventListener("fetch", (event) => {
  if (FILES.includes(event.request.url)) event.respondWith(caches.open(NAME).then((cache) => cache.match(event.request)).then((found) => found ?? fetch(event.request)));
});

async function removeOlder() {
  const older = (await caches.keys()).filter((name) => name.startsWith("edgepress ") && name.endsWith(` ${registration.scope}`) && name !== NAME);
  await Promise.all(older.map((name) => caches.delete(name)));
}
