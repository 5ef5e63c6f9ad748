/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * none: control, which removes no entry
 */
