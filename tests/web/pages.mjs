// Opens each given address in Chromium: light and dark, with and without scripts, at several widths. Fails for a
// violation that axe finds, for a page that scrolls sideways, for a small target, and for a request to another host.
//
// Usage: node pages.mjs URL…
// Environment: CHROMIUM (the browser), STATUSD_PICTURES (a directory for pictures of every page).
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const require = createRequire(import.meta.url);
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const PICTURES = process.env.STATUSD_PICTURES;
const WIDTHS = [320, 768, 1280];
const WALL = { width: 1920, height: 1080 };
// WCAG 2.5.8. Links within a sentence are exempt.
const TARGET_MIN_PX = 24;

const faults = [];
let checks = 0;

function views(url) {
  const isWall = url.includes('view=tv');
  const sizes = isWall ? [WALL, { width: 320, height: 640 }] : WIDTHS.map((width) => ({ width, height: 900 }));
  return sizes.flatMap((viewport) =>
    ['light', 'dark'].flatMap((colorScheme) =>
      [true, false].map((javaScriptEnabled) => ({ viewport, colorScheme, javaScriptEnabled })),
    ),
  );
}

async function axe(page, url) {
  const rules = {};
  // The wall view reloads itself on purpose: nobody reads or operates it (WCAG 2.2.1, technique F41).
  if (url.includes('view=tv')) rules['meta-refresh'] = { enabled: false };
  await page.evaluate(AXE);
  await page.evaluate(() => document.querySelectorAll('details').forEach((details) => (details.open = true)));
  const { violations } = await page.evaluate((rules) => window.axe.run(document, { rules }), rules);
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)}`));
}

async function geometry(page) {
  return page.evaluate((min) => {
    const found = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) found.push(`scrolls sideways: ${root.scrollWidth} px`);
    for (const target of document.querySelectorAll('a, button, summary, select, input')) {
      const { width, height } = target.getBoundingClientRect();
      const isInline = getComputedStyle(target).display === 'inline';
      if (!isInline && width > 0 && Math.min(width, height) < min - 0.5) {
        found.push(`target of ${Math.round(width)}×${Math.round(height)} px: ${target.outerHTML.slice(0, 120)}`);
      }
    }
    return found;
  }, TARGET_MIN_PX);
}

function name(url, number, { viewport, colorScheme }) {
  const { pathname, search } = new URL(url);
  const words = (pathname + search).replace(/[^a-z0-9]+/gi, '-').replace(/^-|-$/g, '').slice(0, 24) || 'overview';
  return `${number}-${words}-${viewport.width}-${colorScheme}.png`;
}

// The elements of each address, as the browser built them with scripts. Without scripts they must be the same, so
// that what axe says, which itself needs scripts, holds for both. Times in them may differ.
const elements = new Map();

async function check(browser, url, number, view) {
  const opened = await browser.newContext(view);
  const { javaScriptEnabled } = view;
  const page = await opened.newPage();
  const own = new URL(url).origin;
  const at = `${url} ${view.viewport.width} px ${view.colorScheme}${javaScriptEnabled ? '' : ' without scripts'}`;
  const fault = (text) => faults.push(`${at}: ${text}`);
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== own) fault(`request to ${request.url()}`);
  });
  page.on('console', (message) => {
    if (message.type() === 'error' && !url.endsWith('/nowhere')) fault(message.text());
  });
  await page.goto(url, { waitUntil: 'load' });
  const built = (await page.content()).replace(/>[^<]+</g, '><').replace(/"[^"]*"/g, '""');
  if (javaScriptEnabled) {
    elements.set(url, built);
    for (const text of await axe(page, url)) fault(text);
  } else if (elements.get(url) !== built) {
    fault('other elements than with scripts');
  }
  for (const text of await geometry(page)) fault(text);
  if (PICTURES && javaScriptEnabled) {
    const path = join(PICTURES, name(url, number, view));
    await page.screenshot({ path, fullPage: !url.includes('view=tv') });
  }
  await opened.close();
  checks += 1;
}

// The skip link and the order of the first targets by keyboard alone, with a visible focus.
async function keyboard(browser, url) {
  const page = await browser.newPage();
  await page.goto(url);
  await page.keyboard.press('Tab');
  const skip = await page.evaluate(() => {
    const { left, top } = document.activeElement.getBoundingClientRect();
    return { href: document.activeElement.getAttribute('href'), left, top };
  });
  if (skip.href !== '#main' || skip.left < 0 || skip.top < 0) faults.push(`${url}: the skip link is not first or not visible`);
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  const focus = await page.evaluate(() => ({
    isInMain: document.querySelector('main').contains(document.activeElement),
    outline: getComputedStyle(document.activeElement).outlineStyle,
  }));
  if (!focus.isInMain) faults.push(`${url}: the skip link does not lead to the content`);
  if (focus.outline === 'none') faults.push(`${url}: the focus is not visible`);
  await page.close();
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
const urls = process.argv.slice(2);
for (const [number, url] of urls.entries()) {
  for (const view of views(url)) await check(browser, url, number, view);
}
await keyboard(browser, urls[0]);
await browser.close();
console.log(`${checks} views of ${urls.length} pages, ${faults.length} faults`);
for (const fault of faults) console.log(fault);
process.exit(faults.length === 0 && checks > 0 ? 0 : 1);
